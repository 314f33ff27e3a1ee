"""What servers need and agents never see: asked for, lent, and taken back."""
