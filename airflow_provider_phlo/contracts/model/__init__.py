"""What a contract says, whichever form it was written in: plain values, and the types that they promise."""
