"""How good feedback and those who give it are: critics, instruction models, RAIN, feedback on documents."""
