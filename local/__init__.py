"""The embedded control plane and toolchain that demo and tests run on."""
