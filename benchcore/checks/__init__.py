"""Functional checks: does a server speak the API that it claims?"""
