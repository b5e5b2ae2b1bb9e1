"""What stands around every route of the control plane: request id, problem documents, and the guard."""
