"""The stream of decisions and changes to a security monitor (SIEM)."""
