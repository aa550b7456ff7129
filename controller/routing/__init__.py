"""From a call to an ordered list of candidates or one refusal, with the explanation."""
