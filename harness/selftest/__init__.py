"""selftest: shows that every check can fail.

Seeded bugs of the stand-in must turn their scenario red, with the right objective first; their twins, slow but legal, must
not (`cases`, `matrix`). And the harness itself is broken on purpose (`mirrors`): it must never say PASS then.
"""
