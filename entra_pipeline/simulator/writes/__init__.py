"""Graph's writes: what they need, what they refuse, what they change.

Each module holds the writes of one kind of object; routes.py finds them, write.py is what they all
stand on. Not here: reading (the modules beside this folder) and random changes (mutate.py).
"""
