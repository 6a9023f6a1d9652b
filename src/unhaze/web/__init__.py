"""The service and its page: ``unhaze serve``. Nothing here is imported unless it runs; it needs ``unhaze[serve]``."""
