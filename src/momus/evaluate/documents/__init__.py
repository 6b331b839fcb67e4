"""How far a model's feedback on documents agrees with people's."""
