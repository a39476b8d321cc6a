"""The settings of an application, and what they were."""
