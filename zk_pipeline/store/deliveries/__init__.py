"""Transactional outbox of the CRM: due deliveries, claims and outcomes, idempotency keys, send journal."""
