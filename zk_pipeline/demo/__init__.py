"""The first look without hardware: a made-up company on disk, the real pipeline over it, and a reckoning that must
agree.
"""
