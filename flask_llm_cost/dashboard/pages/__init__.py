"""One file per page: it reads its parameters, asks its queries, and renders its templates."""
