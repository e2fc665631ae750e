"""A small shop: products, and orders that take from their stock and are charged for.

GET /products/7    POST /orders    GET /orders/1    DELETE /orders/1
"""

import json
import os
import urllib.request

import flask
import psycopg

import storage
from umbra_shadow import outgoing

app = flask.Flask(__name__)
app.json.sort_keys = False


@app.get("/products/<int:product>")
def product(product):
    with storage.transaction() as cursor:
        cursor.execute("SELECT name, price, stock FROM products WHERE id = %s", (product,))
        row = cursor.fetchone()
    if row is None:
        return {"error": "no such product"}, 404
    return {"id": product, "name": row[0], "price": row[1], "stock": row[2]}


@app.post("/orders")
def place():
    wanted = flask.request.get_json()
    with storage.transaction() as cursor:
        total = 0
        # In the order of their ids: two orders for the same products never wait for each other.
        items = sorted(wanted["items"], key=lambda item: item["product"])
        for item in items:
            cursor.execute(
                "UPDATE products SET stock = stock - %s WHERE id = %s AND stock >= %s RETURNING price",
                (item["quantity"], item["product"], item["quantity"]),
            )
            row = cursor.fetchone()
            if row is None:
                # What was taken before is given back.
                cursor.connection.rollback()
                return {"error": "out of stock", "product": item["product"]}, 409
            total += row[0] * item["quantity"]
        cursor.execute(
            "INSERT INTO orders (customer, total) VALUES (%s, %s) RETURNING id, at",
            (wanted["customer"], total),
        )
        order, at = cursor.fetchone()
        for item in items:
            cursor.execute(
                "INSERT INTO items VALUES (%s, %s, %s)", (order, item["product"], item["quantity"])
            )
    charge = bill(wanted["customer"], total)
    answer = {
        "id": order,
        "customer": wanted["customer"],
        "items": items,
        "total": total,
        "charge": charge,
        "at": at.isoformat(),
    }
    return answer, 201, {"Location": f"/orders/{order}"}


@app.get("/orders/<int:order>")
def show(order):
    with storage.transaction() as cursor:
        cursor.execute("SELECT customer, total, status FROM orders WHERE id = %s", (order,))
        row = cursor.fetchone()
    if row is None:
        return {"error": "no such order"}, 404
    return {"id": order, "customer": row[0], "total": row[1], "status": row[2]}


@app.delete("/orders/<int:order>")
def cancel(order):
    with storage.transaction() as cursor:
        cursor.execute(
            "UPDATE orders SET status = 'cancelled' WHERE id = %s AND status = 'placed'", (order,)
        )
        if cursor.rowcount == 0:
            return {"error": "no such order, or cancelled before"}, 409
        cursor.execute(
            "UPDATE products SET stock = stock + quantity FROM items"
            " WHERE products.id = product AND order_id = %s",
            (order,),
        )
    return {"id": order, "status": "cancelled"}


@app.errorhandler(psycopg.errors.LockNotAvailable)
@app.errorhandler(psycopg.errors.QueryCanceled)
def busy(_):
    return {"error": "busy"}, 503


def bill(customer, amount):
    """Has the billing service charge for it. It has to know if this is a replayed request."""
    url = os.environ["BILLING"] + "/charges"
    body = json.dumps({"customer": customer, "amount": amount}).encode()
    headers = {"Content-Type": "application/json", "Host": "billing.example"}
    request = urllib.request.Request(url, body, outgoing(url, headers))
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["id"]


app.wsgi_app = storage.with_marks(app.wsgi_app)
