"""The transformer that pretraining makes and heads read: context encoder, predictor and target."""
