using NDERegEngine, Test
import Aqua

# Persistent tasks would resolve the package anew, which needs a registry.
Aqua.test_all(NDERegEngine; persistent_tasks = false)
