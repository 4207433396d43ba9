"""Rules that check whether an answer followed an instruction of IFEval."""
