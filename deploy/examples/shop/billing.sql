-- Another service's database: what customers are to pay.
CREATE TABLE charges (
    id       bigserial PRIMARY KEY,
    customer text NOT NULL,
    amount   int NOT NULL
);
