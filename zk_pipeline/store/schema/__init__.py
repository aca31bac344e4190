"""Table definitions with comments, migrations, and file copies made before a migration."""
