/* A device with BearSSL, as the Arduino core for ESP8266 has it. */
#include "device.h"
#include <bearssl.h>

#define MOST 8 /* objects in a PEM file */

/* The library has no words for its errors; these are the ones of bearssl_x509.h and bearssl_ssl.h that a device meets. */
static const char *reason(int fault)
{
    static char text[64];
    switch (fault) {
    case BR_ERR_BAD_PARAM: return "BR_ERR_BAD_PARAM";
    case BR_ERR_IO: return "BR_ERR_IO";
    case BR_ERR_NO_CLIENT_AUTH: return "BR_ERR_NO_CLIENT_AUTH";
    case BR_ERR_X509_UNSUPPORTED: return "BR_ERR_X509_UNSUPPORTED";
    case BR_ERR_X509_WRONG_KEY_TYPE: return "BR_ERR_X509_WRONG_KEY_TYPE";
    case BR_ERR_X509_EXPIRED: return "BR_ERR_X509_EXPIRED";
    case BR_ERR_X509_DN_MISMATCH: return "BR_ERR_X509_DN_MISMATCH";
    case BR_ERR_X509_BAD_SERVER_NAME: return "BR_ERR_X509_BAD_SERVER_NAME";
    case BR_ERR_X509_CRITICAL_EXTENSION: return "BR_ERR_X509_CRITICAL_EXTENSION";
    case BR_ERR_X509_NOT_CA: return "BR_ERR_X509_NOT_CA";
    case BR_ERR_X509_FORBIDDEN_KEY_USAGE: return "BR_ERR_X509_FORBIDDEN_KEY_USAGE";
    case BR_ERR_X509_WEAK_PUBLIC_KEY: return "BR_ERR_X509_WEAK_PUBLIC_KEY";
    case BR_ERR_X509_NOT_TRUSTED: return "BR_ERR_X509_NOT_TRUSTED";
    case BR_ERR_RECV_FATAL_ALERT + 40: return "BR_ERR_RECV_FATAL_ALERT + 40 (handshake_failure)";
    }
    snprintf(text, sizeof text, "BR_ERR %d", fault);
    return text;
}

struct bytes {
    unsigned char *data;
    size_t size;
};

static void append(void *to, const void *data, size_t size)
{
    struct bytes *b = to;
    if (!(b->data = realloc(b->data, b->size + size)))
        abort();
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

/* decoded reads the objects of a PEM file. */
static int decoded(const char *step, const char *name, struct bytes *objects)
{
    br_pem_decoder_context pem;
    unsigned char text[1024], *at;
    size_t left, taken;
    int n = 0;
    FILE *file = fopen(name, "r");
    if (!file)
        failed(step, "%s cannot be read", name);
    br_pem_decoder_init(&pem);
    while ((left = fread(text, 1, sizeof text, file)))
        for (at = text; left; at += taken, left -= taken) {
            taken = br_pem_decoder_push(&pem, at, left);
            switch (br_pem_decoder_event(&pem)) {
            case BR_PEM_BEGIN_OBJ:
                if (n == MOST)
                    failed(step, "%s has more than %d objects", name, MOST);
                objects[n] = (struct bytes){0};
                br_pem_decoder_setdest(&pem, append, &objects[n]);
                break;
            case BR_PEM_END_OBJ:
                n++;
                break;
            case BR_PEM_ERROR:
                failed(step, "%s is no PEM", name);
            }
        }
    fclose(file);
    return n;
}

/* anchors makes trust anchors of certificates: the name and the key. */
static int anchors(const char *name, br_x509_trust_anchor *list)
{
    struct bytes certs[MOST];
    int n = decoded("root", name, certs);
    for (int i = 0; i < n; i++) {
        br_x509_decoder_context *decoder = malloc(sizeof *decoder); /* kept: the key lies in it */
        struct bytes subject = {0};
        br_x509_decoder_init(decoder, append, &subject);
        br_x509_decoder_push(decoder, certs[i].data, certs[i].size);
        br_x509_pkey *key = br_x509_decoder_get_pkey(decoder);
        if (!key)
            failed("root", "%s", reason(br_x509_decoder_last_error(decoder)));
        list[i] = (br_x509_trust_anchor){{subject.data, subject.size}, br_x509_decoder_isCA(decoder) ? BR_X509_TA_CA : 0, *key};
    }
    return n;
}

/* identify gives the device its certificate. */
static void identify(br_ssl_client_context *client, const struct device *d)
{
    static struct bytes certs[MOST], key[MOST];
    static br_x509_certificate chain[MOST];
    static br_skey_decoder_context decoder;
    int n = decoded("credential", d->cert, certs);
    for (int i = 0; i < n; i++)
        chain[i] = (br_x509_certificate){certs[i].data, certs[i].size};
    br_skey_decoder_init(&decoder);
    if (decoded("credential", d->key, key) > 0)
        br_skey_decoder_push(&decoder, key[0].data, key[0].size);
    switch (br_skey_decoder_key_type(&decoder)) {
    case BR_KEYTYPE_RSA:
        br_ssl_client_set_single_rsa(client, chain, n, br_skey_decoder_get_rsa(&decoder), br_rsa_pkcs1_sign_get_default());
        return;
    case BR_KEYTYPE_EC: {
        /* who signed the certificate matters to ECDH alone, which nobody uses */
        const br_ec_private_key *ec = br_skey_decoder_get_ec(&decoder);
        br_ssl_client_set_single_ec(client, chain, n, ec, BR_KEYTYPE_SIGN, BR_KEYTYPE_EC, br_ec_get_default(), br_ecdsa_sign_asn1_get_default());
        return;
    }
    default:
        failed("credential", "%s", reason(br_skey_decoder_last_error(&decoder)));
    }
}

static int received(void *fd, unsigned char *data, size_t size)
{
    ssize_t n = read(*(int *)fd, data, size);
    return n > 0 ? n : -1;
}

static int sent(void *fd, const unsigned char *data, size_t size)
{
    ssize_t n = write(*(int *)fd, data, size);
    return n > 0 ? n : -1;
}

static int tls_read(void *io, unsigned char *data, int size) { return br_sslio_read(io, data, size); }

static int tls_write(void *io, unsigned char *data, int size)
{
    return br_sslio_write_all(io, data, size) || br_sslio_flush(io) ? -1 : size;
}

int main(int argc, char **argv)
{
    static br_ssl_client_context client;
    static br_x509_minimal_context x509;
    static br_sslio_context io;
    static unsigned char buffer[BR_SSL_BUFSIZE_BIDI];
    br_x509_trust_anchor roots[MOST];

    printf("BearSSL (tells no version; Debian's package has 0.6)\n");
    struct device d = called(argc, argv);
    br_ssl_client_init_full(&client, &x509, roots, anchors(d.root, roots));
    if (d.cert)
        identify(&client, &d);
    br_ssl_engine_set_buffer(&client.eng, buffer, sizeof buffer, 1);
    br_ssl_client_reset(&client, d.host, 0);
    int fd = dialed(&d);
    br_sslio_init(&io, &client.eng, received, &fd, sent, &fd);
    if (br_sslio_flush(&io)) /* runs the handshake */
        failed("tls", "%s", reason(br_ssl_engine_last_error(&client.eng)));
    mqtt(&d, tls_write, tls_read, &io);
    return 0;
}
