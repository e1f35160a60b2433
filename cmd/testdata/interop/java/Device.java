import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.Principal;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Arrays;
import java.util.Base64;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509KeyManager;

/** A device with Java's own TLS. It is called, and tells what happened, as ../c/device.h says. */
public final class Device {
    private static final char[] NO_PASSWORD = new char[0];

    public static void main(String[] args) throws Exception {
        System.out.println(System.getProperty("java.vm.name") + " " + Runtime.version());
        String step = "root";
        try {
            KeyStore roots = empty();
            int n = 0;
            for (Certificate root : certificates(args[2])) {
                roots.setCertificateEntry("root-" + n++, root);
            }
            TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(roots);

            step = "credential";
            String token = args.length == 4 ? Files.readString(Path.of(args[3])).strip() : "";
            KeyManager[] keys = null;
            if (args.length == 5) {
                Certificate[] chain = certificates(args[3]);
                KeyStore store = empty();
                store.setKeyEntry("device", key(args[4], chain[0]), NO_PASSWORD, chain);
                KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
                factory.init(store, NO_PASSWORD);
                keys = new KeyManager[] {new Always((X509KeyManager) factory.getKeyManagers()[0])};
            }
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(keys, trust.getTrustManagers(), null);

            step = "tcp";
            try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(args[0], Integer.parseInt(args[1]))) {
                socket.setSoTimeout(10_000);
                SSLParameters parameters = socket.getSSLParameters();
                parameters.setEndpointIdentificationAlgorithm("HTTPS"); // without it, Java checks no name
                socket.setSSLParameters(parameters);
                step = "tls";
                socket.startHandshake();
                DataOutputStream out = new DataOutputStream(socket.getOutputStream());
                DataInputStream in = new DataInputStream(socket.getInputStream());
                step = "connect";
                packet(out, 0x10, connect(token));
                answer(in, 0x20, 2, 0, 0);
                step = "publish";
                packet(out, 0x32, publish());
                answer(in, 0x40, 2, 0, 1);
                packet(out, 0xe0, new byte[0]);
            }
            System.out.println("ok");
        } catch (Exception e) {
            Throwable cause = e;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            System.out.println(step + ": " + cause);
            System.exit(1);
        }
    }

    /** ThingsBoard does not say that it accepts the device CA: sends the certificate all the same. */
    private record Always(X509KeyManager keys) implements X509KeyManager {
        @Override
        public String chooseClientAlias(String[] types, Principal[] issuers, Socket socket) {
            return keys.chooseClientAlias(types, null, socket);
        }

        @Override
        public String[] getClientAliases(String type, Principal[] issuers) {
            return keys.getClientAliases(type, null);
        }

        @Override
        public X509Certificate[] getCertificateChain(String alias) {
            return keys.getCertificateChain(alias);
        }

        @Override
        public PrivateKey getPrivateKey(String alias) {
            return keys.getPrivateKey(alias);
        }

        @Override
        public String chooseServerAlias(String type, Principal[] issuers, Socket socket) {
            return null;
        }

        @Override
        public String[] getServerAliases(String type, Principal[] issuers) {
            return null;
        }
    }

    private static KeyStore empty() throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        return store;
    }

    private static Certificate[] certificates(String file) throws Exception {
        try (InputStream in = Files.newInputStream(Path.of(file))) {
            return CertificateFactory.getInstance("X.509").generateCertificates(in).toArray(Certificate[]::new);
        }
    }

    /** Reads a PKCS#8 key in PEM, of the kind that the certificate has. */
    private static PrivateKey key(String file, Certificate certificate) throws Exception {
        String base64 = Files.readString(Path.of(file)).replaceAll("-----[A-Z ]+-----", "");
        byte[] der = Base64.getMimeDecoder().decode(base64);
        return KeyFactory.getInstance(certificate.getPublicKey().getAlgorithm()).generatePrivate(new PKCS8EncodedKeySpec(der));
    }

    private static byte[] connect(String token) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeUTF("MQTT");
        out.write(new byte[] {4, (byte) (token.isEmpty() ? 0x02 : 0x82), 0, 60});
        out.writeUTF("");
        if (!token.isEmpty()) {
            out.writeUTF(token);
        }
        return bytes.toByteArray();
    }

    private static byte[] publish() throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        out.writeUTF("v1/devices/me/telemetry");
        out.writeShort(1);
        out.writeBytes("{\"temperature\":25}");
        return bytes.toByteArray();
    }

    private static void packet(DataOutputStream out, int kind, byte[] body) throws IOException {
        byte[] whole = new byte[body.length + 2];
        whole[0] = (byte) kind;
        whole[1] = (byte) body.length;
        System.arraycopy(body, 0, whole, 2, body.length);
        out.write(whole);
        out.flush();
    }

    private static void answer(DataInputStream in, int... wanted) throws IOException {
        byte[] got = new byte[4];
        in.readFully(got);
        for (int i = 0; i < 4; i++) {
            if (got[i] != wanted[i]) {
                throw new IOException("the answer is " + Arrays.toString(got));
            }
        }
    }
}
