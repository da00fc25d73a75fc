"""Navigation of the dashboard. Start it with `python -m app`."""

import streamlit as st

st.set_page_config(page_title="JEPA-MSAC Twin", layout="wide")
st.navigation([st.Page("pages/replay.py", title="Replay", default=True)]).run()
