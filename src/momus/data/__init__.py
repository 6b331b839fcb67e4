"""Real data in and out: functions of the standard library and of installed packages."""
