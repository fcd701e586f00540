"""What all formats share: tables of weights, blocks of them, number types."""
