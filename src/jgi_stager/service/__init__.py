"""The daemon as a service of systemd: notifications, restarts, installation."""
