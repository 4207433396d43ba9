"""Accuracy evals: does the server answer as well as its model should?"""
