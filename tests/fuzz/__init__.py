"""Fuzzing: ceremonies spoilt at random and judged by three implementations, and any bytes for every parser.

``make fuzz`` runs both for minutes, and the tests take a sample of the one and the kept corpus of the other.
"""
