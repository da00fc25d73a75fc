"""Trained models at work: on windows, frame by frame, and as a file of their own."""
