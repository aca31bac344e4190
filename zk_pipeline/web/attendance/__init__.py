"""Pages of attendance days: lists, one day, months, exports, shifts and holidays."""
