"""``python -m hf_transfer_kit COMMAND``, which ``accelerate launch -m`` and ``torchrun -m`` take as well."""

from hf_transfer_kit.commands.main import main

if __name__ == "__main__":
    main()
