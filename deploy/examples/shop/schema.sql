-- The shop's database: what is for sale, and what was ordered.
CREATE TABLE products (
    id    int PRIMARY KEY,
    name  text NOT NULL,
    price int NOT NULL CHECK (price > 0),          -- in cents
    stock int NOT NULL CHECK (stock >= 0)
);
CREATE TABLE orders (
    id       bigserial PRIMARY KEY,
    customer text NOT NULL,
    total    int NOT NULL,
    status   text NOT NULL DEFAULT 'placed',
    at       timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE items (
    order_id bigint NOT NULL REFERENCES orders DEFERRABLE INITIALLY DEFERRED,
    product  int NOT NULL REFERENCES products,
    quantity int NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, product)
);
INSERT INTO products
    SELECT n, 'product ' || n, 100 + 37 * n, 100000 FROM generate_series(1, 20) n;
