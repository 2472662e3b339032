"""The regression gate: `parity gate`."""
