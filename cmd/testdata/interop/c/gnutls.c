/* A device with GnuTLS. */
#include "device.h"
#include <gnutls/gnutls.h>

static int tls_write(void *session, unsigned char *data, int size) { return gnutls_record_send(session, data, size); }

static int tls_read(void *session, unsigned char *data, int size)
{
    int n;
    do /* with TLS 1.3 a session ticket comes between */
        n = gnutls_record_recv(session, data, size);
    while (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED);
    return n;
}

int main(int argc, char **argv)
{
    printf("GnuTLS %s\n", gnutls_check_version(NULL));
    struct device d = called(argc, argv);
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;
    gnutls_datum_t text;
    gnutls_certificate_allocate_credentials(&credentials);
    int fault = gnutls_certificate_set_x509_trust_file(credentials, d.root, GNUTLS_X509_FMT_PEM);
    if (fault < 1)
        failed("root", "%s", fault ? gnutls_strerror(fault) : "there is no certificate in it");
    if (d.cert && (fault = gnutls_certificate_set_x509_key_file(credentials, d.cert, d.key, GNUTLS_X509_FMT_PEM)) < 0)
        failed("credential", "%s", gnutls_strerror(fault));
    /* ThingsBoard does not say that it accepts the device CA: send the certificate all the same. */
    gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT);
    gnutls_set_default_priority(session);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_session_set_verify_cert(session, d.host, 0);
    if (!is_address(d.host))
        gnutls_server_name_set(session, GNUTLS_NAME_DNS, d.host, strlen(d.host));
    int connection = dialed(&d);
    gnutls_transport_set_int(session, connection); /* a macro that takes its argument twice */
    do
        fault = gnutls_handshake(session);
    while (fault == GNUTLS_E_AGAIN || fault == GNUTLS_E_INTERRUPTED);
    if (fault == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
        gnutls_certificate_verification_status_print(gnutls_session_get_verify_cert_status(session), GNUTLS_CRT_X509, &text, 0);
        failed("tls", "%s", text.data);
    }
    if (fault < 0)
        failed("tls", "%s", gnutls_strerror(fault));
    mqtt(&d, tls_write, tls_read, session);
    return 0;
}
