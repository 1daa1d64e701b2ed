"""Reports: values, tables and charts put into a text, and the page that becomes of it."""
