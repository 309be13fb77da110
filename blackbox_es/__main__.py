"""``python -m blackbox_es``."""

from blackbox_es.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
