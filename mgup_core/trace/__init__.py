"""Records a rule and a policy as a straight-line program, which targets print."""
