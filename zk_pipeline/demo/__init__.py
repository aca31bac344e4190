"""Demo without hardware: a generated company with simulated terminals and CRM, the real pipeline, and an independent
recount that must agree.
"""
