"""Loss functions: functional first, a thin module where one needs memory."""
