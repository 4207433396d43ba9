"""``python -m benchcore.sim``, which ``SimulatorProcess`` starts; see ``benchcore.sim.child``."""

import gc
import sys

if __name__ == "__main__":
    gc.disable()  # imports make many objects and no garbage
    from benchcore.sim.child import main

    gc.enable()
    sys.exit(main())
