"""What pages of reports are made of: markup, drawings, and a frame that asks for nothing."""

__all__: list[str] = []
