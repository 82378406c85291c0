"""Everything that speaks SQL: the database itself, the job store, the embedded queue and the migrations."""
