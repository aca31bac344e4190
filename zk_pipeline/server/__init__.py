"""The web application of REST API and admin pages (`app`), and its HTTP server, uvicorn."""
