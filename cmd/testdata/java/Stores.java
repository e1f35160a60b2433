// Loads keystores as programs in Java do, and proves them by TLS on loopback: a server that wants a client
// certificate, and a client that checks the server's name. Each line of the standard input is a case: type,
// path and password of the server's keystore, of the truststore of both, and of the client's keystore,
// separated by tabs. For each it writes the protocol and the subjects that server and client saw.

import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.util.concurrent.CompletableFuture;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

public class Stores {
    static final int PATIENCE = 30_000;

    record Store(String type, String path, char[] password) {
        KeyStore load() throws Exception {
            KeyStore store = KeyStore.getInstance(type);
            try (InputStream in = new FileInputStream(path)) {
                store.load(in, password);
            }
            return store;
        }
    }

    static SSLContext context(Store keys, Store trusted) throws Exception {
        KeyManagerFactory key = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        key.init(keys.load(), keys.password());
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted.load());
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(key.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    static String shake(Store server, Store trusted, Store client) throws Exception {
        InetAddress here = InetAddress.getLoopbackAddress();
        try (SSLServerSocket listener =
                (SSLServerSocket) context(server, trusted).getServerSocketFactory().createServerSocket(0, 1, here)) {
            listener.setNeedClientAuth(true);
            listener.setSoTimeout(PATIENCE);
            CompletableFuture<String> seen = new CompletableFuture<>();
            Thread serving = new Thread(() -> {
                try (SSLSocket socket = (SSLSocket) listener.accept()) {
                    socket.setSoTimeout(PATIENCE);
                    int got = socket.getInputStream().read();
                    socket.getOutputStream().write(got);
                    seen.complete(socket.getSession().getPeerPrincipal().getName());
                    socket.getInputStream().read(); // until the client closes: each end waits for the other's farewell
                } catch (Exception e) {
                    seen.completeExceptionally(e);
                }
            });
            serving.setDaemon(true);
            serving.start();
            try (SSLSocket socket = (SSLSocket) context(client, trusted).getSocketFactory().createSocket(here, listener.getLocalPort())) {
                socket.setSoTimeout(PATIENCE);
                SSLParameters parameters = socket.getSSLParameters();
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                socket.setSSLParameters(parameters);
                socket.getOutputStream().write(42);
                if (socket.getInputStream().read() != 42) {
                    return "failed: no answer; " + seen.get();
                }
                return socket.getSession().getProtocol() + "\t" + seen.get() + "\t" + socket.getSession().getPeerPrincipal().getName();
            }
        }
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] f = line.split("\t");
            Store[] stores = new Store[3];
            for (int i = 0; i < 3; i++) {
                stores[i] = new Store(f[3 * i], f[3 * i + 1], f[3 * i + 2].toCharArray());
            }
            String result;
            try {
                result = shake(stores[0], stores[1], stores[2]);
            } catch (Exception e) {
                result = "failed: " + e;
            }
            System.out.println(result);
        }
    }
}
