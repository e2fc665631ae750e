# The shop's parts for the examples that write. Sourced after lib.sh.
# shellcheck shell=bash disable=SC2154

# The databases, and both services with these settings: `SHADOW=… TEST_…`.
need_shop() {
    need_modules "flask, gunicorn, psycopg" "flask gunicorn 'psycopg[binary]'"
    start_postgres
    local name
    for name in shop billing; do
        sql postgres "CREATE DATABASE $name"
        sql "$name" -f "$examples/shop/${name/shop/schema}.sql"
    done
}

customers() { "$python" "$examples/shop/customers.py" "$@"; }

# Rows of each table of production (or with $1 appended), what is in stock, and what is to
# be paid.
rows() {
    printf '%s, %s\n' "$(sql "shop${1:-}" "SELECT format('orders %s, items %s, in stock %s',
        (SELECT count(*) FROM orders), (SELECT count(*) FROM items), (SELECT sum(stock) FROM products))")" \
        "$(sql "billing${1:-}" "SELECT format('charges %s, to pay %s', count(*), sum(amount)) FROM charges")"
}

# All of production's rows, as a digest.
digest() {
    {
        sql shop "SELECT * FROM products ORDER BY id; SELECT * FROM orders ORDER BY id; SELECT * FROM items ORDER BY 1, 2"
        sql billing "SELECT * FROM charges ORDER BY id"
    } | sha256sum | cut -c 1-16
}
