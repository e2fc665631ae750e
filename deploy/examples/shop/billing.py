"""The service the shop calls for each order: it writes to a database of its own.

POST /charges
"""

import flask

import storage

app = flask.Flask(__name__)


@app.post("/charges")
def charge():
    wanted = flask.request.get_json()
    with storage.transaction() as cursor:
        cursor.execute(
            "INSERT INTO charges (customer, amount) VALUES (%s, %s) RETURNING id",
            (wanted["customer"], wanted["amount"]),
        )
        return {"id": cursor.fetchone()[0]}, 201


app.wsgi_app = storage.with_marks(app.wsgi_app)
