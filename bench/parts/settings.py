"""The settings that nginx and Envoy are given: the same work on all sides."""

KEEP = "keepalive 64; keepalive_requests 1000000000; keepalive_timeout 1h;"


def nginx(directory, server, workers, main, http):
    temporary = " ".join(f"{kind}_temp_path {directory}/{kind};"
                         for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return (f"daemon off; pid {directory}/pid; error_log stderr error; worker_processes {workers}; "
            f"worker_rlimit_nofile 20000; {main} events {{ worker_connections 15000; }} "
            f"http {{ access_log off; {temporary} keepalive_requests 1000000000; keepalive_timeout 1h; "
            f"tcp_nodelay on; {http} server {{ {server} }} }}")


def nginx_proxy(upstream, mirror, http2):
    """(http, server): proxy_pass with kept connections and the fields an agent adds."""
    pools = f"upstream production {{ server 127.0.0.1:{upstream}; {KEEP} }} "
    headers = ('proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; '
               "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; "
               'proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Via "1.1 nginx";')
    version = " http2" if http2 else ""
    mirrored = place = ""
    if mirror:
        pools += f"upstream shadow {{ server 127.0.0.1:{mirror}; {KEEP} }} "
        mirrored = "mirror /mirrored;"
        place = f"location = /mirrored {{ internal; {headers} proxy_pass http://shadow$request_uri; }} "
    server = (f"listen 127.0.0.1:{{port}}{version} backlog=4096; client_max_body_size 1g; "
              f"location / {{ {mirrored} {headers} proxy_pass http://production; }} {place}")
    return pools, server


def envoy(port, upstream, mirror, http2):
    route = {"cluster": "production", "timeout": "60s"}
    clusters = [_cluster("production", upstream, http2)]
    if mirror:
        route["request_mirror_policies"] = [
            {"cluster": "shadow", "runtime_fraction": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}}]
        clusters.append(_cluster("shadow", mirror, http2))
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front", "codec_type": "AUTO", "use_remote_address": True, "via": "1.1 envoy",
        "route_config": {"virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    }
    return {"static_resources": {
        "listeners": [{
            "name": "front", "address": _address(port),
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
        "clusters": clusters}}


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name, port, http2):
    # Envoy's circuit breakers stand at 1,024 by default; none of these runs shall meet them.
    limits = {key: 1000000 for key in ("max_connections", "max_pending_requests", "max_requests")}
    cluster = {
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": name, "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]}}
    if http2:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
    return cluster
