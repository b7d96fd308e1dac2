"""How jobs run: the Celery app, the take step, the pool, the attempt, the providers."""
