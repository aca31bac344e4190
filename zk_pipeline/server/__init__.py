"""The web application of REST API and admin pages (`app`), and uvicorn, which serves it."""
