"""The lab: real guests with a real kernel, for everything a development machine cannot do."""
